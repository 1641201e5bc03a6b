"""Any two models, one a port of the other: are they the same, and where do they first depart?"""
