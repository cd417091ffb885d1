from evals.sandbox.inside.kernel import *
