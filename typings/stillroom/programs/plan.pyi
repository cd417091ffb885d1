from programs.plan import *
