"""Judges: models that the gateway asks which tier a turn needs.

judge              who is asked about which turns, and what becomes of the verdict
verdict_memory     verdicts that are remembered, calls in flight, the pause after failures
judge_question     the question, which each kind of judge puts in its own way
chat_question      the question for a chat model, which names a tier
decision_question  the question for a decision model, which gives each tier a probability
decision_server    sends a decision model its question, as a pass-through call
"""
