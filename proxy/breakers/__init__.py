"""Breakers: who may be asked, of the upstreams and models that calls go to (`Breakers`)."""
