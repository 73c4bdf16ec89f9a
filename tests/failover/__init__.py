"""Failover by policy: what clients with official SDKs see when the provider of their model fails.

faults      the list of faults, and how a scripted provider plays each
policies    the policies that are compared: as shipped, and as `tiergate init` writes them
play        one call of an SDK against one fault, and what it saw
table       all that was seen as a table, and the table of docs/failover.md
"""
