"""Search: documents of any number, a folder that keeps them, and the words they share with a query.

`sources` reads files to documents, `index` keeps them in segments, `bm25` ranks them, `hits` shows what was found.
"""
