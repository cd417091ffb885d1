from evals.proofs.questions import *
