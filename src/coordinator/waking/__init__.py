"""Waking an idle session: how the hooks of a model's client talk with the MCP server beside it.

The client starts the server with the session, and a short process of ours, a hook, whenever the
session begins, comes to rest, is put to work by its user, or ends. The hook asks the server, over a
unix socket that only this user can reach, and tells the client in the client's own words.

    door      where the two meet, and who may be there
    words     what they say
    programs  who has called a hook
    asking    the hook's side; the server's is `coordinator.agents.mcp.hooks`
    turns     which hook is the newest, where no server can tell yet
    clients   what each client's hooks mean, and what each client understands

A client waits for its hooks, and starts one at every turn. So nothing here imports what takes long
to load: no database driver, no MCP, no pydantic.
"""
