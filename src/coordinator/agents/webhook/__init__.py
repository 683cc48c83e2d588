"""Webhook delivery: an agent whose work is done behind a URL, by whoever answers there.

    addresses   which addresses may be reached: no private ones, unless allowed
    target      the URL, read and checked
    signing     secrets, and what they sign
    notices     the events, as they are sent
    wire        one POST
    replies     what an answer means: a table
    delivery    one notice until it has an answer
    standing    whether the endpoint is there, and what the agent says of that
    words       what is said of an attempt in the receiver's place
    courier     the handoff in hand: offered, taken, settled
    news        the ends of what the agent sent
    run         all of it as one process

Only this package imports `httpcore2`, which the extra `webhook` brings.
"""
