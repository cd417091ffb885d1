from programs.symbolic.domain import *
