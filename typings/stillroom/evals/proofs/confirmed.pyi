from evals.proofs.confirmed import *
