"""Tests of the dashboard's endpoints: access, and the headers that restrict browsers."""
