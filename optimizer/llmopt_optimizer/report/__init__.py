"""`report.html`: what was asked, what is recommended and why, on one page that opens without a network.

`evidence` simulates the recommended deployment once more for its distributions; `words`, `tables` and
`figures` turn result and evidence into parts of a page; `page` puts them together with the plotting library
inside.
"""
