"""Requests and answers on the wire: lowerCamelCase members, unknown ones refused.

Answers are made by ``longshore.wire``, which the embedded service uses too; the classes of answers
here describe them, for the OpenAPI document and for the tests that hold both together.
"""
