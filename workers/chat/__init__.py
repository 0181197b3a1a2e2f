"""The chat runtime: finished models behind an OpenAI-compatible HTTP service.

__main__.py   python -m workers.chat --port 8601
server.py     the HTTP side: /health, /v1/models, /v1/chat/completions
loaded.py     which models are in memory, loading on demand, giving memory back
shared.py     one base for many adapters
catalogue.py  ids to folders
"""
