from evals.sandbox.scalar import *
