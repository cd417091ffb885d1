from core.policies import *
