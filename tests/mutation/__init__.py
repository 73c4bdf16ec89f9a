"""Mutation tests: do the tests of money, limits and routing notice when their arithmetic changes?"""
