"""A page in the browser on which images form: ``ddim play``.

The server starts no framework: each engine has a process of its own (:mod:`.session`), which walks
one step at a time (:mod:`.walks`) in turns that the server gives (:mod:`.turns`). ``page/`` is the
page: HTML, style and JavaScript modules, served as they are.
"""
