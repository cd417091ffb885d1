from evals.proofs.geometry import *
