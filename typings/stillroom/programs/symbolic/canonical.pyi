from programs.symbolic.canonical import *
