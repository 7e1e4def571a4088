"""A dump on its way in: one stream into the store, then info.json, then the index.

Each step can be repeated: a run that is killed anywhere leaves what the next run completes. An object without
an info.json is not a dump yet; an info.json that the index does not know is put there by who meets it next.
"""
