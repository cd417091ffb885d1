from programs.flow.tally import *
