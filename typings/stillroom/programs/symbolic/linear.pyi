from programs.symbolic.linear import *
