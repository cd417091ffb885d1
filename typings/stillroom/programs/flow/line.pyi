from programs.flow.line import *
