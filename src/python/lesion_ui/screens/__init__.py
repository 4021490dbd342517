"""The pages: layout only. Streamlit runs each file; ``app`` lists them.

Not called ``pages``: Streamlit would run the files of a folder of that name beside ``app`` by themselves, without the
notice and without signing in, when their address is the first that a server is asked for.
"""
