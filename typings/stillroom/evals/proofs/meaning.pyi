from evals.proofs.meaning import *
