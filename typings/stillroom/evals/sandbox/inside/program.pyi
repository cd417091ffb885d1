from evals.sandbox.inside.program import *
