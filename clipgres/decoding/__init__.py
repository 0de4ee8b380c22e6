"""Turn what was fetched into pictures, in processes of their own; `pool` is the way in.

It imports nothing here: the decoder processes load as little as they can.
"""
