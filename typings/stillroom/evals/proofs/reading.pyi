from evals.proofs.reading import *
