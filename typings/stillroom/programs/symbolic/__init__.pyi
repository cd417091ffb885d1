from programs.symbolic import *
