from programs.flow.wanted import *
