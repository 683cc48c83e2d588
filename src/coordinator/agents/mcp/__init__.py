"""The MCP server: an agent whose body is a model, which takes up and ends its work by tool calls.

    place       the agent's post, connected in the background
    work        what is in hand: accept, progress, settle
    waiting     the long poll for a handoff
    asked       what each tool takes
    answers     what each tool answers
    nesting     how deep an argument or an answer may be
    unreadable  what a message is told that is none
    refusals    how an error tells a model what to do next
    deeds       what each tool does
    tools       what a model reads of each
    resources   the resources
    prompts     the prompts
    news        which subscribers hear of a change
    hooks       what the hooks of the session say, and how an idle one is woken
    server      all of it as one server of the SDK
    stdio, http the two ways in
    run         what runs beside them, and how it ends

Only this package imports `mcp`, which the extra of that name brings.
"""
