"""Answers for many images at once, without a server, into one table.

``settings`` says what the answers depend on, ``listing`` finds the images, ``journal`` keeps beside the output what is
answered until it is finished, ``answering`` asks the predictor, ``pool`` does so in processes of this machine,
``layouts`` says how an answer becomes a row, ``output`` writes the table, and ``run`` puts them together.
"""
