"""Pass-through calls: one request to one provider, native bytes both ways, one row.

request    what the gateway reads of a request: its model, its objects, whether it streams
engine     one call: its objects, its provider, its reservation, its attempt, its answer
answer     what the gateway reads of an answer, and the headers that go on
"""
