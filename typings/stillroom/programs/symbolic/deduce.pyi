from programs.symbolic.deduce import *
