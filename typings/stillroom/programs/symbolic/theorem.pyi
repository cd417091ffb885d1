from programs.symbolic.theorem import *
