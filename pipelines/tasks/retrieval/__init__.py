"""What tasks have in common that learn to find documents: judged queries, BM25, nDCG."""
