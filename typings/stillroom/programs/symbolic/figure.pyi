from programs.symbolic.figure import *
