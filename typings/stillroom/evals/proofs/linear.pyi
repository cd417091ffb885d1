from evals.proofs.linear import *
