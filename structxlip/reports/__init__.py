"""Reports: pages and figures made of the numbers of an evaluation."""
