"""Models' clients, and their configuration: what `coordinator agent install` writes and takes back.

A change is made in three steps. What a file should mean is decided on plain data (`servers`,
`hooks`). The file's text is then edited until it means that, and nothing else of it is touched
(`json_text`, `toml_text`). Last, all files are written, or none (`files`), with a note of how to go
back (`memory`).
"""
