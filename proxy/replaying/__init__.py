"""Resume by replay: recorded answers, given again to an agent that started again."""
