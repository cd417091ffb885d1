from evals.verifiers.round_trip import *
