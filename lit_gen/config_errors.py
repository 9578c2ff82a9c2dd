def explain(m): return m
