from programs.flow.passing import *
