"""The attempts that one call makes, until one of them answers: candidates, retries, what each was.

All of it happens before the commit point, which is the first content of a stream, or the whole of
an answer that is none. What comes out is one answer, that nothing is to be tried after.
"""
