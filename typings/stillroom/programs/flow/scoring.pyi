from programs.flow.scoring import *
