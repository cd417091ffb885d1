from evals.proofs.horn import *
