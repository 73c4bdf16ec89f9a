"""The record of every call and what it cost: written as it happens, kept, and added up."""
