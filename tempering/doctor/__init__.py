"""The doctor: would training on these data sets mean anything? (`temper data doctor`)

`examine` reads data sets as the pipeline does, makes the samples it would make of them, and judges both.
Everything is looked at row by row; what is kept of a row is some dozen bytes and, of a few, the text.
"""
