"""The admin port: sessions and policy over JSON, metrics, health. On aiohttp; not the data path."""
