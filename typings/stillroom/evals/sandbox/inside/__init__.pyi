from evals.sandbox.inside import *
