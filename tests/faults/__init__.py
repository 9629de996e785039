"""What clients get, and what is booked, when providers fail in every way there is:
`python -m tests.faults`."""
